package lab

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"brickhouse/deploy/lab/netns"
)

// markPrefix begins the payload of a mark.
const markPrefix = "bh-lab-mark-"

// localExperimental is the EtherType of marks (IEEE 802, local experimental).
const localExperimental = 0x88b5

// mark puts a frame on the wire that a capture sees and no host does, and returns what it says. Once it is in the file,
// so is everything that was on the wire before.
func (w *Wire) mark() (string, error) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	text := markPrefix + hex.EncodeToString(b[:])
	var err error
	if w.lab.net != nil {
		err = sendFrame(w.lab.net.Wires(), w.Name, text)
	} else {
		err = sendDatagram(w.Prefix.Addr().Next(), text)
	}
	if err != nil {
		return "", fmt.Errorf("marking wire %s: %w", w.Name, err)
	}
	return text, nil
}

// sendFrame sends to the bridge's own address: the bridge forwards that to no port, and a capture on it sees it.
func sendFrame(ns netns.Namespace, iface, text string) error {
	return ns.Do(func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		frame := append(append([]byte{}, i.HardwareAddr...), i.HardwareAddr...)
		frame = binary.BigEndian.AppendUint16(frame, localExperimental)
		return unix.Sendto(fd, append(frame, text...), 0, &unix.SockaddrLinklayer{Ifindex: i.Index})
	})
}

// sendDatagram sends to the discard port of an address that no host of the lab has.
func sendDatagram(to netip.Addr, text string) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(text))
	return err
}
