"""The database's rows as typed values that statements read and insert, and the words of columns."""
