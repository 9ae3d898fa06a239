"""What suites measure on: engines, bare library calls, floors."""
