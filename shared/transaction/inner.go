package transaction

import (
	"sync"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
)

// Inner makes the server side of a request that this program asks of itself: nothing is sent and nothing is repeated, each
// response goes to answer. It looks as if req had come over f. answer must not call back into the Server.
func Inner(f *transport.Flow, req *sip.Request, tag string, answer func(*sip.Response)) *Server {
	return &Server{req: req, inner: &inner{flow: f, tag: tag, answer: answer}}
}

// inner is what a Server of Inner has instead of a transaction.
type inner struct {
	flow   *transport.Flow
	tag    string
	answer func(*sip.Response)

	mu    sync.Mutex // guards final
	final bool       // a final response was given
}

// respond hands over a response. After the final one there is none.
func (t *inner) respond(res *sip.Response) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.final {
		return ErrFinal
	}
	t.final = res.StatusCode >= 200
	t.answer(res)
	return nil
}
