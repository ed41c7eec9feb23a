//go:build race

package transport

// quick is off: the race detector learns from package net's calls that what was written before is seen by who reads after.
const quick = false
