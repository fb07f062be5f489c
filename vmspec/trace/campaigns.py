"""The names in a campaign's folder and in its data set, which runner writes and tracer reads."""

DATA, JOURNAL, TRACES = "runs.parquet", "runs.journal", "traces"
SET = "set."  # begins the name of an override's column, as in set.vm.vcpus
