"""Looks at services and operates them by SQL, over whatever session there is: it never creates or drops anything."""
