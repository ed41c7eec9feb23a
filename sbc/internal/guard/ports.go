package guard

// Ports are the local ports that the kernel filter tells apart. All are in host byte order; none stands twice.
type Ports struct {
	SIPUDP []uint16  // UDP ports of the signalling, towards phones and trunks
	SIPTCP []uint16  // TCP ports of the signalling, TLS among them
	Media  PortRange // UDP ports of the media; each is closed until OpenPort
}

// PortRange is a range of ports, both ends included. The zero value holds none.
type PortRange struct {
	First, Last uint16
}
