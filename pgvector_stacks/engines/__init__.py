"""The engines: one implementation of `Engine` per engine. No other code decides by an engine's name."""
