package wa

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/socket"
	"go.mau.fi/whatsmeow/store"

	"github.com/wapro/hub/internal/gateway"
)

// errOffline says that there was no connection that sends may use.
var errOffline = errors.New("the session is not connected")

// mediaError is about the stored file.
type mediaError struct{ err error }

func (e *mediaError) Error() string { return "media: " + e.err.Error() }
func (e *mediaError) Unwrap() error { return e.err }

// uploadError is about getting the file to WhatsApp's media servers, the query for their address included.
type uploadError struct{ err error }

func (e *uploadError) Error() string { return "upload: " + e.err.Error() }
func (e *uploadError) Unwrap() error { return e.err }

// attempt is what is known about one call of Send besides its error.
type attempt struct {
	group        bool
	proof        *proof
	timings      whatsmeow.MessageDebugTimings // zero when SendMessage was not reached
	uploadStatus int                           // HTTP status of the last media answer, 0 for none
	panicked     bool
}

// written reports whether SendMessage tried to write the stanza to the socket; the timings are its only trace.
func (a *attempt) written() bool { return a.timings.Send > 0 }

// answered reports whether the wait for the acknowledgement ended, be it by an answer or by a lost connection.
func (a *attempt) answered() bool { return a.timings.Resp > 0 }

// replayed reports whether the connection was lost after the stanza was written.
func (a *attempt) replayed() bool { return a.timings.Retry > 0 }

// sendError says what err means in the domain's terms. It is the only such place.
func (a *attempt) sendError(err error) *gateway.SendError {
	e := &gateway.SendError{Cause: gateway.CauseInternal, OnWire: a.written(), Err: err}
	var (
		iq           *whatsmeow.IQError
		disconnected *whatsmeow.DisconnectedError
		database     *storeError
		media        *mediaError
		upload       *uploadError
	)
	failure := a.proof.failure()
	switch {
	case a.panicked:
		// Where it was is not known; what was stored for the recipient may have been written too.
		e.OnWire = a.written() || a.proof.reached(a.proof.require)

	case errors.Is(err, gateway.ErrFenced), errors.Is(failure, gateway.ErrFenced) && !a.written():
		e.Cause = gateway.CauseFenced

	case errors.Is(err, gateway.ErrClaimLost), errors.Is(failure, gateway.ErrClaimLost) && !a.written():
		e.Cause = gateway.CauseClaimLost

	case errors.Is(err, errNotOnWhatsApp):
		e.Cause, e.OnWire = gateway.CauseNotOnWhatsApp, false

	case errors.Is(err, errOptedOut):
		e.Cause, e.OnWire = gateway.CauseOptedOut, false

	case errors.Is(err, errUnreached):
		// For a person nothing is lost: what may have gone out was for our own devices. Members of a group may hold the
		// key of an earlier message.
		e.Cause, e.OnWire = gateway.CauseNoCiphertext, a.written() && a.group
		switch {
		case errors.Is(failure, gateway.ErrFenced):
			e.Cause = gateway.CauseFenced
		case failure != nil:
			e.Cause, e.Err = gateway.CauseStore, errors.Join(err, failure)
		}

	case errors.Is(err, whatsmeow.ErrServerReturnedError):
		// A refusal: nothing was delivered, unless an earlier copy of the stanza was accepted before the connection broke.
		e.Cause, e.Server, e.OnWire = gateway.CauseAck, ackCode(err), a.replayed()

	case errors.As(err, &media):
		e.Cause = gateway.CauseMedia

	case errors.Is(err, context.Canceled):
		e.Cause = gateway.CauseStopped

	case isTimeout(err):
		e.Cause = gateway.CauseTimeout

	case errors.As(err, &disconnected):
		e.Cause = gateway.CauseDisconnected

	case errors.Is(err, errOffline), errors.Is(err, whatsmeow.ErrNotLoggedIn), errors.Is(err, store.ErrDeviceDeleted):
		e.Cause, e.OnWire = gateway.CauseOffline, false

	case errors.Is(err, whatsmeow.ErrNotConnected), errors.Is(err, socket.ErrSocketClosed):
		// Before the first write nothing happened; the same error may come from the replay after it.
		e.Cause, e.OnWire = gateway.CauseOffline, a.answered()
		if e.OnWire {
			e.Cause = gateway.CauseDisconnected
		}

	case errors.As(err, &upload):
		e.Cause, e.Server = gateway.CauseUpload, a.uploadStatus
		if errors.As(err, &iq) {
			e.Server = iq.Code
		}

	case errors.Is(err, whatsmeow.ErrGroupNotFound), errors.Is(err, whatsmeow.ErrNotInGroup):
		e.Cause = gateway.CauseGroup

	case errors.As(err, &iq):
		e.Cause, e.Server = gateway.CauseIQ, iq.Code

	case errors.As(err, &database), failure != nil && !a.written():
		e.Cause = gateway.CauseStore

	case a.written():
		// Writing to the socket failed, in whatever way.
		e.Cause = gateway.CauseDisconnected
	}
	return e
}

func isTimeout(err error) bool {
	return errors.Is(err, whatsmeow.ErrMessageTimedOut) || errors.Is(err, whatsmeow.ErrIQTimedOut) ||
		errors.Is(err, context.DeadlineExceeded)
}

// ackText is the form of whatsmeow's error for a stanza that the server refused; the number is told in no other way.
const ackText = `^%s (\d+)$`

// ackCode reads the server's number from a whatsmeow.ErrServerReturnedError, 0 when it cannot.
func ackCode(err error) int {
	pattern := regexp.MustCompile(fmt.Sprintf(ackText, regexp.QuoteMeta(whatsmeow.ErrServerReturnedError.Error())))
	for ; err != nil; err = errors.Unwrap(err) {
		if match := pattern.FindStringSubmatch(err.Error()); match != nil {
			code, _ := strconv.Atoi(match[1]) // the pattern lets digits through only
			return code
		}
	}
	return 0
}
