package sdp

import (
	"net/netip"
	"strconv"
)

// Bytes writes the description. User name and session name are "-": they tell nothing. Text that could not have come through
// Parse must not be put into the fields.
func (s *Session) Bytes() []byte {
	conn := s.Conn
	if !conn.IsValid() && len(s.Media) > 0 {
		conn = s.Media[0].Conn
	}
	if !conn.IsValid() {
		conn = netip.IPv4Unspecified()
	}
	b := make([]byte, 0, 512)
	b = append(b, "v=0\r\no=- "...)
	b = strconv.AppendUint(b, s.Origin.ID, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, s.Origin.Version, 10)
	b = append(b, ' ')
	b = appendAddr(b, conn)
	b = append(b, "\r\ns=-\r\nc="...)
	b = appendAddr(b, conn)
	b = append(b, "\r\nt=0 0\r\n"...)
	b = s.appendSession(b)
	for i := range s.Media {
		b = s.Media[i].append(b, conn)
	}
	return b
}

// append writes the m= line and its attributes. A refused one has none (RFC 3264 §6) but its name.
func (m *Media) append(b []byte, session netip.Addr) []byte {
	b = append(b, "m="...)
	b = append(b, m.Type...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(m.Port), 10)
	b = append(b, ' ')
	b = append(b, m.Proto...)
	for _, f := range m.Formats {
		b = append(b, ' ')
		b = append(b, f...)
	}
	b = append(b, "\r\n"...)
	if m.Port == 0 {
		return m.appendName(b)
	}
	if m.Conn.IsValid() && m.Conn != session {
		b = append(b, "c="...)
		b = appendAddr(b, m.Conn)
		b = append(b, "\r\n"...)
	}
	return m.appendAttributes(m.appendName(b))
}

func (m *Media) appendName(b []byte) []byte {
	if m.MID == "" {
		return b
	}
	return appendLine(b, "a=mid:", m.MID)
}

func (m *Media) appendAttributes(b []byte) []byte {
	for _, r := range m.RTPMaps {
		b = appendLine(b, "a=rtpmap:", r.Format, r.Encoding)
	}
	for _, f := range m.FMTPs {
		b = appendLine(b, "a=fmtp:", f.Format, f.Params)
	}
	if m.Ptime > 0 {
		b = appendLine(b, "a=ptime:", strconv.Itoa(m.Ptime))
	}
	if m.MaxPtime > 0 {
		b = appendLine(b, "a=maxptime:", strconv.Itoa(m.MaxPtime))
	}
	if m.RTCPPort != 0 {
		words := []string{strconv.Itoa(int(m.RTCPPort))}
		if m.RTCPAddr.IsValid() {
			words = append(words, string(appendAddr(nil, m.RTCPAddr)))
		}
		b = appendLine(b, "a=rtcp:", words...)
	}
	if m.RTCPMux {
		b = appendLine(b, "a=rtcp-mux")
	}
	b = m.Transport.append(b)
	for _, c := range m.Crypto {
		words := append([]string{strconv.FormatUint(uint64(c.Tag), 10), c.Suite, c.KeyParams}, c.SessionParams...)
		b = appendLine(b, "a=crypto:", words...)
	}
	return appendLine(b, "a="+m.Direction.String())
}

func appendLine(b []byte, start string, words ...string) []byte {
	b = append(b, start...)
	for i, w := range words {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, w...)
	}
	return append(b, "\r\n"...)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	a = a.Unmap()
	if a.Is4() {
		b = append(b, "IN IP4 "...)
	} else {
		b = append(b, "IN IP6 "...)
	}
	return a.AppendTo(b)
}
