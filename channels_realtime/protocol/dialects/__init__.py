"""How one kind of client writes commands and reads pushes; a file each."""
