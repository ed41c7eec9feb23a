package guard

// Ports are the local ports that the border listens on. The kernel filter guards them.
type Ports struct {
	SIPUDP []uint16
	SIPTCP []uint16 // TCP, TLS and whatever else runs over TCP
	Media  PortRange
}

// PortRange is a range of UDP ports for media, both ends in it; First 0: none.
type PortRange struct{ First, Last uint16 }
