"""Work that is done once: the cache of stages, tasks, the stages that methods are made of, and workers."""
