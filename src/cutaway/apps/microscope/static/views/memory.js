export class Memory { constructor(context, element) { this.context = context; this.element = element; } draw() {} step(n) {} }
