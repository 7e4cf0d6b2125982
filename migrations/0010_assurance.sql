-- What an API key asks for when its requests say nothing: how answers are checked, and who may see a prompt.

alter table api_keys
  -- null: the pool's policy, which serves what it cannot check and says so
  add column assurance text check (assurance in ('sampled', 'deterministic', 'required', 'none')),
  add column privacy text not null default 'standard' check (privacy in ('standard', 'paranoid', 'single-exposure')),
  -- null: the pool's setting
  add column required_workers smallint check (required_workers between 2 and 5);
