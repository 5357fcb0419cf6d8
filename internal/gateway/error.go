package gateway

import (
	"errors"
	"fmt"
	"runtime"
)

// Code is a stable, machine-readable name of a failure. Every code a caller can meet is catalogued in
// docs/errors.md with its remedy; a code is never renamed or reused.
type Code string

// Codes of refused requests.
const (
	CodeInvalidBody        Code = "invalid_body"         // not JSON, a wrong type, a missing field
	CodeUnknownField       Code = "unknown_field"        // a field the API does not have
	CodeInvalidRecipient   Code = "invalid_recipient"    // neither a phone number nor a JID
	CodeInvalidMessage     Code = "invalid_message"      // empty or over MaxTextBytes
	CodeInvalidMedia       Code = "invalid_media"        // broken base64, empty, no mimetype
	CodeDuplicateRecipient Code = "duplicate_recipient"  // a recipient that a bulk has already
	CodeMissingVariable    Code = "missing_variable"     // a placeholder of a bulk's text that the row has no value for
	CodeMediaMismatch      Code = "media_type_mismatch"  // the bytes are not what mimetype says
	CodeMediaURLRefused    Code = "media_url_refused"    // media.url is no address that the hub calls
	CodeMediaTooLarge      Code = "media_too_large"      // over MaxMediaBytes
	CodeMediaExpired       Code = "media_expired"        // WhatsApp has deleted the file of an inbound message
	CodeMediaBusy          Code = "media_busy"           // too many media bytes in flight
	CodeBodyTooLarge       Code = "body_too_large"       // the request body is over its limit
	CodeUnsupportedType    Code = "unsupported_media"    // Content-Type is not application/json
	CodeInvalidParameter   Code = "invalid_parameter"    // a query or path parameter
	CodeInvalidTenant      Code = "invalid_tenant"       // a malformed tenant id
	CodeTenantExists       Code = "tenant_exists"        // a duplicate tenant id
	CodeUnauthorized       Code = "unauthorized"         // no key, or an unknown one
	CodeForbidden          Code = "forbidden"            // a key that is not for this tenant, whether or not it exists
	CodeScopeMissing       Code = "scope_missing"        // the tenant's own key, but not for this
	CodeNotFound           Code = "not_found"            // no such thing
	CodeMethodNotAllowed   Code = "method_not_allowed"   // the path exists, the method does not
	CodeConflict           Code = "conflict"             // the state of the thing forbids it
	CodeNotPairing         Code = "not_pairing"          // there is no QR code to show
	CodeAlreadyPaired      Code = "already_paired"       // log out before pairing again
	CodeNoPairingCode      Code = "no_pairing_code"      // WhatsApp gave none, or could not be reached
	CodeNotCancelable      Code = "not_cancelable"       // claimed already, or ended
	CodeNotRetryable       Code = "not_retryable"        // not failed, expired or canceled; or unknown without force
	CodeTargetNotSent      Code = "target_not_sent"      // what is to be edited, revoked or reacted to was not sent yet
	CodeWindowClosed       Code = "window_closed"        // it was sent too long ago to be edited or revoked
	CodeIdempotencyReuse   Code = "idempotency_mismatch" // same Idempotency-Key, another body
	CodeIdempotencyBusy    Code = "idempotency_busy"     // same Idempotency-Key, still in flight
	CodeInvalidIdempotency Code = "invalid_idempotency"  // a malformed Idempotency-Key
	CodeRateLimited        Code = "rate_limited"         // 429, see Retry-After
	CodeQueueFull          Code = "queue_full"           // as many messages of the tenant wait as may
	CodeTooManyWaiters     Code = "too_many_waiters"     // too many requests wait with ?wait=
	CodeUnavailable        Code = "unavailable"          // the database does not answer
	CodeMasterKeyMissing   Code = "master_key_missing"   // a secret would have to be kept, and there is no MASTER_KEY
	CodeNotImplemented     Code = "not_implemented"      // a documented route or field that is not built yet
	CodeInternal           Code = "internal"             // our fault; the log has the request id
)

// Codes of a message's failure, and of a wait that Message.Error explains.
const (
	CodeNotOnWhatsApp   Code = "not_on_whatsapp"      // the number has no WhatsApp account
	CodeTimeout         Code = "timeout"              // no answer from WhatsApp in time
	CodeDisconnected    Code = "disconnected"         // the connection broke during the send
	CodeRejected        Code = "rejected"             // WhatsApp refused the message for good (ack 400, 479 ...)
	CodeServerError     Code = "server_error"         // WhatsApp answered 5xx or an unknown number
	CodeThrottled       Code = "throttled"            // ack 429
	CodeRateOverLimit   Code = "rate_overlimit"       // IQ 429: first contacts are held
	CodeReachOutLimited Code = "reachout_restricted"  // ack 463: first contacts are held
	CodeNoCiphertext    Code = "recipient_unreached"  // the server took the stanza, it held nothing for the recipient's phone
	CodeUploadFailed    Code = "upload_failed"        // WhatsApp's media servers refused or failed
	CodeMediaURLPending Code = "media_url_pending"    // the file at media.url is being fetched
	CodePreviewPending  Code = "link_preview_pending" // the page of the link is being fetched
	CodeMediaURLFailed  Code = "media_url_failed"     // the file at media.url could not be fetched
	CodeMediaLost       Code = "media_lost"           // the stored file is missing or damaged
	CodeGroupForbidden  Code = "not_a_group_member"   // no such group, or this number is not in it
	CodeExpired         Code = "expired"              // not sent before expiresAt
	CodeSessionOffline  Code = "session_offline"      // waiting for the session; never a failure
	CodeStorage         Code = "storage"              // our own database failed during the send
	CodePoison          Code = "poison"               // three deaths of the process during this message alone
	CodeOutcomeUnknown  Code = "outcome_unknown"      // it may or may not have been delivered
	CodeCanceled        Code = "canceled_by_operator" // ended by POST .../cancel
	CodeOptedOut        Code = "opted_out"            // the recipient wants no bulk messages
	CodePaced           Code = "paced"                // a cap of the tenant's own holds it
)

// Error is a failure that may be told to the caller: Message is safe to show, Err is for the log alone.
type Error struct {
	Code    Code
	Message string       // a sentence for people, no secrets
	Fields  []FieldError // what is wrong with which part of the request
	Err     error        // the cause, or nil
}

// FieldError points at one part of a request body by JSON pointer (RFC 6901), for example "/media/data".
type FieldError struct {
	Pointer string
	Detail  string
}

// Errorf makes an Error without a cause.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldErrorf makes an Error about one field.
func FieldErrorf(code Code, pointer, format string, args ...any) *Error {
	e := Errorf(code, format, args...)
	e.Fields = []FieldError{{Pointer: pointer, Detail: e.Message}}
	return e
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Is matches another *Error by its code alone, so that errors.Is(err, &Error{Code: c}) works.
func (e *Error) Is(target error) bool {
	t, ok := errors.AsType[*Error](target)
	return ok && t.Code == e.Code
}

// CodeOf returns the code of err, CodeInternal when it has none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// PanicCause names the value of a panic for the log. Only the runtime's own errors are told in words: another value could
// quote a message.
func PanicCause(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", value)
}
