export class Lessons { constructor(context, element) { this.context = context; this.element = element; } draw() {} step(n) {} }
