// Package follow keeps configured lists of networks up to date: from files, from HTTPS URLs and from MMDB databases. Whenever
// one has changed it hands the whole new list to whoever enforces it. Nothing is contacted that the configuration does not name.
//
//	            ┌──────── every ────────┐
//	            ▼                       │ unchanged, or taken
//	start ──► look ──► parse ──► apply ─┴─► keep (URL: on disk)
//	  │         └────────┴─────────┴──► failed: what was last good stays, the status says why, next look later
//	  └ URL: the kept copy first, so that a start without network has the list at once
//
// What comes from the network is a stranger's: the whole fetch has a deadline, the body a bound, no compression is spoken, a
// redirect may stay on its host and on HTTPS only, and what is no list, or an empty one, never replaces a good one.
package follow
