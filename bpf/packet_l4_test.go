package bpf

import "encoding/binary"

// Local ports as the tests set them.
const (
	portSIP    = 5060
	portTLS    = 5061
	mediaFirst = 20000
	mediaLast  = 20010
)

var testPorts = Ports{SIPUDP: []uint16{portSIP}, SIPTCP: []uint16{portSIP, portTLS}, MediaFirst: mediaFirst, MediaLast: mediaLast}

// udp is a datagram with its header.
func udp(port int, payload string) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

const (
	tcpSYN = 2
	tcpRST = 4
	tcpACK = 16
)

// tcp is a segment without options.
func tcp(port int, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	b[12], b[13] = 5<<4, flags
	return b
}

const sipOptions = "OPTIONS sip:x SIP/2.0\r\n"

func tcp4(src string, port int, flags byte) frame {
	return frame{src: src, next: 6, payload: tcp(port, flags)}
}
