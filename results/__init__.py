"""From stored rows to knowledge: folder, counts, tables, pictures, report; each file beside them is a command."""
