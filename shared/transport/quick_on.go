//go:build !race

package transport

// quick says that TLS goes by quickConn.
const quick = true
