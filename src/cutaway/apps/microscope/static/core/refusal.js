// What is refused, in words for a person: by the server, or by a saved page that does not hold it.

export class Refusal extends Error {}
