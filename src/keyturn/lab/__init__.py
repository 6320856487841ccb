"""Work that is done only once: the cache of stages, tasks, the stages that make up methods, and workers."""
