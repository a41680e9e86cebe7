"""One reader for each file format, all with one signature; `headway.data.table` picks by name."""
