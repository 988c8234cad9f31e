"""Learning forward in time: rules, traces, and streams that learn."""
