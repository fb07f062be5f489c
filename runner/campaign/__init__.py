"""Campaigns: the same machines many times, each run a row of one data set."""
