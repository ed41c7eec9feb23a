package guard

import "net/netip"

// Ports are the local ports that the kernel filter tells apart. All are in host byte order; none stands twice.
type Ports struct {
	SIPUDP []uint16  // UDP ports of the signalling, towards phones and trunks
	SIPTCP []uint16  // TCP ports of the signalling, TLS among them
	Media  PortRange // UDP ports of the media; each is closed until OpenPort
	// Own are the local addresses that media ports are closed at; what is sent to others is not the border's. An unspecified one stands
	// for all that the filtered interfaces have; so do none.
	Own []netip.Addr
}

// PortRange is a range of ports, both ends included. The zero value holds none.
type PortRange struct {
	First, Last uint16
}
