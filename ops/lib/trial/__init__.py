"""The whole path on real parts, run once and accounted for: what the demo, the torture and the benches build on."""
