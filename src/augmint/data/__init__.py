"""Files and tables: reading and writing pictures safely, folder conventions, metadata, and splits."""
