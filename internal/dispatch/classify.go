package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wapro/hub/internal/gateway"
)

// classify is the one place that decides what follows from a failed send. It does not say when: that depends on the
// message and the session.
func classify(e *gateway.SendError) gateway.Outcome {
	kind, failure := judge(e)
	return gateway.Outcome{Kind: kind, Failure: failure, OnWire: e.OnWire}
}

func judge(e *gateway.SendError) (gateway.OutcomeKind, gateway.Failure) {
	switch e.Cause {
	case gateway.CauseOffline:
		return wait("The session is not connected.")
	case gateway.CauseFenced:
		return wait("Another worker took the session over.")
	case gateway.CauseClaimLost:
		return wait("The database lost the claim.")
	case gateway.CauseStopped:
		return wait("The worker is stopping.")
	case gateway.CauseTimeout:
		return retry(gateway.CodeTimeout, "WhatsApp did not answer in time.")
	case gateway.CauseDisconnected:
		return retry(gateway.CodeDisconnected, "The connection broke during the send.")
	case gateway.CauseNoCiphertext:
		return retry(gateway.CodeNoCiphertext, "Nothing could be encrypted for the recipient's phone.")
	case gateway.CauseStore:
		return retry(gateway.CodeStorage, "The hub's database failed during the send.")
	case gateway.CauseNotOnWhatsApp:
		return permanent(gateway.CodeNotOnWhatsApp, "The number is not on WhatsApp.", false)
	case gateway.CauseOptedOut:
		return permanent(gateway.CodeOptedOut, "The recipient wants no bulk messages.", false)
	case gateway.CauseGroup:
		return permanent(gateway.CodeGroupForbidden, "There is no such group, or the number is not a member.", false)
	case gateway.CauseAck:
		return judgeAck(e.Server)
	case gateway.CauseIQ:
		return judgeIQ(e.Server)
	case gateway.CauseUpload:
		return judgeUpload(e.Server)
	case gateway.CauseMedia:
		return judgeMedia(e.Err)
	case gateway.CauseFetch:
		return judgeFetch(e)
	case gateway.CauseFetching:
		return hold(gateway.CodeMediaURLPending, "The file at media.url is being fetched.")
	case gateway.CausePreviewing:
		return hold(gateway.CodePreviewPending, "The page of the link is being fetched.")
	case gateway.CauseInternal:
	}
	return retry(gateway.CodeInternal, "The send failed for a reason of the hub's own.")
}

// judgeAck reads the server's answer to the message itself. WhatsApp documents none of these numbers.
func judgeAck(server int) (gateway.OutcomeKind, gateway.Failure) {
	switch server {
	case 463:
		// An account may not write to people who do not know it, or this recipient wants no strangers.
		return hold(gateway.CodeReachOutLimited, "WhatsApp does not let this number write to new contacts for now.")
	case 429:
		return retry(gateway.CodeThrottled, "WhatsApp asks to send more slowly.")
	case 420:
		// Nowhere explained. The number means "slow down" where it is known from, and it is reported in bursts, so it is
		// taken for that: should it be a refusal, the attempts run out and the message fails a few minutes later, while the
		// opposite mistake would lose messages that a pause would have saved.
		return retry(gateway.CodeThrottled, "WhatsApp refused the message for now (420).")
	case 400, 405, 406, 479:
		// A stanza that the server takes for malformed (479: it does not fit the schema) or not allowed: the next attempt
		// would be the same.
		return permanent(gateway.CodeRejected, "WhatsApp refused the message.", true)
	case 401, 403:
		return permanent(gateway.CodeRejected, "WhatsApp does not allow this message to this recipient.", false)
	}
	return retry(gateway.CodeServerError, "WhatsApp could not take the message.")
}

// judgeIQ reads the answer to a question before the send: who the recipient's devices are, their keys, where to upload.
func judgeIQ(server int) (gateway.OutcomeKind, gateway.Failure) {
	switch server {
	case 429:
		return hold(gateway.CodeRateOverLimit, "WhatsApp asks this number to look up new contacts more slowly.")
	case 463:
		return hold(gateway.CodeReachOutLimited, "WhatsApp does not let this number write to new contacts for now.")
	}
	return retry(gateway.CodeServerError, "WhatsApp could not answer a question before the send.")
}

func judgeUpload(server int) (gateway.OutcomeKind, gateway.Failure) {
	switch server {
	case 413, 415:
		return permanent(gateway.CodeUploadFailed, "WhatsApp's media servers refused the file.", false)
	}
	// Other refusals (401, 403, 404, 410) are about the upload's address and its permission, which the next attempt asks
	// for anew; 5xx and no answer pass.
	return retry(gateway.CodeUploadFailed, "The file could not be uploaded to WhatsApp.")
}

// judgeFetch reads why the file at media.url was not got.
func judgeFetch(e *gateway.SendError) (gateway.OutcomeKind, gateway.Failure) {
	if known, ok := errors.AsType[*gateway.Error](e.Err); ok && known.Code != gateway.CodeMediaBusy && known.Code != gateway.CodeUnavailable {
		if known.Code == gateway.CodeMediaURLRefused || known.Code == gateway.CodeMediaTooLarge {
			return permanent(known.Code, known.Message, false)
		}
		return permanent(gateway.CodeMediaURLFailed, "What is at media.url is not a file of the kind that was asked for.", true)
	}
	switch {
	case e.Server == 408, e.Server == 425, e.Server == 429, e.Server >= 500, e.Server < 300: // 2xx: it broke off
		return retry(gateway.CodeMediaURLFailed, "The file at media.url could not be fetched; it is tried again.")
	case e.Server < 400:
		return permanent(gateway.CodeMediaURLFailed, "media.url leads elsewhere; redirects are not followed.", true)
	}
	return permanent(gateway.CodeMediaURLFailed, fmt.Sprintf("The server of media.url answered %d.", e.Server), true)
}

// judgeMedia tells a lost file from one that could not be read at this moment.
func judgeMedia(err error) (gateway.OutcomeKind, gateway.Failure) {
	_, path := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, context.Canceled):
		return wait("The worker is stopping.")
	case errors.Is(err, context.DeadlineExceeded):
		return retry(gateway.CodeTimeout, "The file could not be read in time.")
	case path:
		return retry(gateway.CodeStorage, "The stored file could not be read.")
	}
	return permanent(gateway.CodeMediaLost, "The stored file is missing, damaged or of a kind that WhatsApp does not take.", false)
}

// heldOutcome is for a message that is not even tried because of a restriction that is in force: it waits for the same
// reason as the one that met the restriction.
func heldOutcome(r gateway.Restriction) gateway.Outcome {
	kind, failure := judgeAck(463)
	if r.Code == gateway.CodeRateOverLimit {
		kind, failure = judgeIQ(429)
	}
	return gateway.Outcome{Kind: kind, Failure: failure}
}

func wait(message string) (gateway.OutcomeKind, gateway.Failure) {
	return gateway.OutcomeWait, gateway.Failure{Code: gateway.CodeSessionOffline, Message: message, Retryable: true}
}

func retry(code gateway.Code, message string) (gateway.OutcomeKind, gateway.Failure) {
	return gateway.OutcomeRetry, gateway.Failure{Code: code, Message: message, Retryable: true}
}

func hold(code gateway.Code, message string) (gateway.OutcomeKind, gateway.Failure) {
	return gateway.OutcomeHold, gateway.Failure{Code: code, Message: message, Retryable: true}
}

func permanent(code gateway.Code, message string, again bool) (gateway.OutcomeKind, gateway.Failure) {
	return gateway.OutcomePermanent, gateway.Failure{Code: code, Message: message, Retryable: again}
}
