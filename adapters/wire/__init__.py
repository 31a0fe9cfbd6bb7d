"""The command exchanges that carry SASL, sans-I/O, both ends: one file per protocol."""
