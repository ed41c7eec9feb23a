package sipmsg

// Limits bound what a stranger may send. Sizes are in bytes.
type Limits struct {
	MaxDatagram  int // a message in one datagram
	MaxMessage   int // a message on a stream
	MaxLine      int // start line, or one header with its folded lines
	MaxHeaders   int // header lines
	MaxRepeat    int // lines of one known header
	MaxVias      int // Via values
	MaxRoutes    int // Route and Record-Route values together
	MaxContacts  int // Contact values
	MaxURI       int // Request-URI
	MaxURIParams int // parameters of one URI; the reader itself takes no more than 64
	MaxToken     int // Call-ID, tag, branch
}

// DefaultLimits is what the border and the exchange start from. Honest messages stay far below.
func DefaultLimits() Limits {
	return Limits{
		MaxDatagram: 64 << 10, MaxMessage: 256 << 10, MaxLine: 8 << 10, MaxHeaders: 128, MaxRepeat: 32, MaxVias: 32,
		MaxRoutes: 16, MaxContacts: 16, MaxURI: 1024, MaxURIParams: maxParams, MaxToken: 512,
	}
}
