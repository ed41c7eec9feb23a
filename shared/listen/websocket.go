package listen

import (
	"fmt"
	"strings"

	"brickhouse/shared/conffile"
	"brickhouse/shared/transport"
)

// maxOrigins bounds the pages that may connect: each upgrade looks at all of them.
const maxOrigins = 100

// isWebSocket reports whether i takes WebSockets.
func (i Interface) isWebSocket() bool { return i.Transport == "wss" || i.Transport == "ws" }

// webSocket is what i asks of those who open a WebSocket.
func (i Interface) webSocket() transport.WebSocket {
	w := transport.WebSocket{Path: i.Path, Origins: i.Origins}
	if w.Path == "" {
		w.Path = "/"
	}
	return w
}

// checkWebSocket says what is wrong with the WebSocket's part of the interface under at.
func (i Interface) checkWebSocket(at string) []conffile.Fault {
	var fs []conffile.Fault
	if !i.isWebSocket() {
		if i.Path != "" || len(i.Origins) > 0 {
			fs = append(fs, conffile.Bad(at, "path and origins have no effect on "+i.Transport, "take them away, or use wss"))
		}
		return fs
	}
	if i.Path != "" && (i.Path[0] != '/' || strings.Trim(i.Path, pathBytes) != "") {
		fs = append(fs, conffile.Bad(at+".path", fmt.Sprintf("%q is no path", i.Path), "give it as /ws, of letters, digits, - _ . and /"))
	}
	if len(i.Origins) > maxOrigins {
		fs = append(fs, conffile.Bad(at+".origins", fmt.Sprintf("has more than %d", maxOrigins), "serve the pages from fewer hosts"))
	}
	for n, o := range i.Origins[:min(len(i.Origins), maxOrigins)] {
		if err := transport.CheckOrigin(o); err != nil {
			fs = append(fs, conffile.Bad(fmt.Sprintf("%s.origins[%d]", at, n), err.Error(), "give what the browser shows up to the first single slash"))
		}
	}
	return fs
}

const pathBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./" // what needs no escape in a URL

// NoWebSocket says which interfaces under key are WebSockets, for a side that has none: only phones open them (RFC 7118 §5).
func NoWebSocket(key string, list []Interface) []conffile.Fault {
	var fs []conffile.Fault
	for n, i := range list {
		if i.isWebSocket() {
			fs = append(fs, conffile.Bad(fmt.Sprintf("%s.interfaces[%d].transport", key, n), "is "+i.Transport+", which only remote phones speak", "move it to the border's access side"))
		}
	}
	return fs
}
