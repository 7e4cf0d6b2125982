-- The audit at start keeps its place outside the database it is about (file `audited` of the data directory).
alter table log_head drop column audited;
