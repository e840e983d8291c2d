"""What the database should be: roles, databases, grants. Said once, for the migration that makes it so at each start
and for the location that compares it every day.

`plan` is plain data, `statements` the SQL that makes it, `expected` and `found` the same facts from both sides.
"""
