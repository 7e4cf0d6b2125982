-- Functions of every flush: their look-ups are told to go through indexes, whatever the arrays hold, so a plan is as good for the next batch
-- as for this one. PostgreSQL would plan most of them anew each time, which cost a small flush more than carrying them out.
alter function ledger_read set plan_cache_mode = force_generic_plan;
alter function ledger_write set plan_cache_mode = force_generic_plan;
alter function begin_log set plan_cache_mode = force_generic_plan;
alter function move_jobs set plan_cache_mode = force_generic_plan;
