package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

const (
	mimeJSON    = "application/json"
	mimeProblem = "application/problem+json"

	// typeURI begins the type of every problem: the code's place in the catalogue.
	typeURI = "https://github.com/wapro/hub/blob/main/docs/errors.md#"
)

// retryAfter is what a 429 or 503 recommends, in seconds.
const retryAfter = 2

// statusOf is the one table of which code answers with which HTTP status. Codes that only a message carries have none.
func statusOf(code gateway.Code) (status int, ok bool) {
	switch code {
	case gateway.CodeInvalidBody, gateway.CodeUnknownField, gateway.CodeInvalidRecipient, gateway.CodeInvalidMessage,
		gateway.CodeDuplicateRecipient, gateway.CodeMissingVariable,
		gateway.CodeInvalidMedia, gateway.CodeMediaMismatch, gateway.CodeMediaURLRefused, gateway.CodeInvalidParameter, gateway.CodeInvalidTenant,
		gateway.CodeInvalidIdempotency, gateway.CodeIdempotencyReuse:
		return http.StatusUnprocessableEntity, true
	case gateway.CodeMediaTooLarge, gateway.CodeBodyTooLarge:
		return http.StatusRequestEntityTooLarge, true
	case gateway.CodeUnsupportedType:
		return http.StatusUnsupportedMediaType, true
	case gateway.CodeUnauthorized:
		return http.StatusUnauthorized, true
	case gateway.CodeForbidden, gateway.CodeScopeMissing:
		return http.StatusForbidden, true
	case gateway.CodeNotFound:
		return http.StatusNotFound, true
	case gateway.CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed, true
	case gateway.CodeTenantExists, gateway.CodeConflict, gateway.CodeNotPairing, gateway.CodeAlreadyPaired,
		gateway.CodeNotCancelable, gateway.CodeNotRetryable, gateway.CodeTargetNotSent, gateway.CodeWindowClosed, gateway.CodeSessionOffline, gateway.CodeIdempotencyBusy, gateway.CodeMediaLost:
		return http.StatusConflict, true
	case gateway.CodeMediaExpired:
		return http.StatusGone, true
	case gateway.CodeNoPairingCode:
		return http.StatusBadGateway, true
	case gateway.CodeRateLimited, gateway.CodeQueueFull:
		return http.StatusTooManyRequests, true
	case gateway.CodeNotImplemented:
		return http.StatusNotImplemented, true
	case gateway.CodeMediaBusy, gateway.CodeTooManyWaiters, gateway.CodeUnavailable, gateway.CodeMasterKeyMissing:
		return http.StatusServiceUnavailable, true
	case gateway.CodeInternal:
		return http.StatusInternalServerError, true
	default:
		return 0, false
	}
}

// title is the code as people read it: invalid_body is "Invalid body".
func title(code gateway.Code) string {
	words := strings.ReplaceAll(string(code), "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}

// answerError renders err, once; an answer that has begun stays as it is.
func (s *Server) answerError(c echo.Context, err error) {
	if c.Response().Committed {
		level := slog.LevelWarn
		if c.Request().Context().Err() != nil { // the caller has gone
			level = slog.LevelDebug
		}
		s.log.Log(c.Request().Context(), level, "the answer broke off", "route", c.Path(), "requestId", callOf(c).requestID, "err", err)
		return
	}
	if sendErr := send(c, s.problem(c, err)); sendErr != nil {
		s.log.DebugContext(c.Request().Context(), "the caller has gone", "route", c.Path(), "requestId", callOf(c).requestID, "err", sendErr)
	}
}

// problem turns any error into its answer. What has no code is our fault: it is logged here and told to nobody.
func (s *Server) problem(c echo.Context, err error) *answer {
	e := coded(err)
	status, ok := statusOf(e.Code)
	if !ok || e.Code == gateway.CodeInternal {
		status, e = http.StatusInternalServerError, gateway.Errorf(gateway.CodeInternal, "something broke on our side; the log has it under this requestId")
	}
	k := callOf(c)
	if status >= http.StatusInternalServerError && e.Code != gateway.CodeNotImplemented {
		level := slog.LevelError
		if errors.Is(err, context.Canceled) { // the caller has gone
			level = slog.LevelDebug
		}
		s.log.Log(c.Request().Context(), level, "request failed", "method", c.Request().Method, "route", c.Path(),
			"tenant", k.tenant.ID, "code", string(e.Code), "requestId", k.requestID, "err", err)
	}
	p := spec.Problem{
		Type: typeURI + string(e.Code), Title: title(e.Code), Status: status, Detail: e.Message, Code: string(e.Code),
		RequestId: k.requestID,
		Errors: make([]struct {
			Detail  string `json:"detail"`
			Pointer string `json:"pointer"`
		}, len(e.Fields)),
	}
	for i, f := range e.Fields {
		p.Errors[i].Pointer, p.Errors[i].Detail = f.Pointer, f.Detail
	}
	a := jsonAnswer(status, p)
	a.Header["Content-Type"] = mimeProblem
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		after := retryAfter
		if fast, ok := errors.AsType[*tooFast](err); ok {
			after = wholeUp(fast.wait)
		}
		a.Header["Retry-After"] = strconv.Itoa(after)
	case http.StatusUnauthorized:
		a.Header["WWW-Authenticate"] = `ApiKey realm="hub", header="x-api-key"`
	}
	return a
}

// coded finds the gateway.Error in err, or makes the one that other rooms' and libraries' errors mean.
func coded(err error) *gateway.Error {
	if e, ok := errors.AsType[*strictjson.Error](err); ok {
		return refusal(e)
	}
	if e, ok := errors.AsType[*tooFast](err); ok {
		return gateway.Errorf(gateway.CodeRateLimited, "%s; try again in %d s", e.why, wholeUp(e.wait))
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return gateway.Errorf(gateway.CodeBodyTooLarge, "the request body is larger than %d bytes", e.Limit)
	}
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return ofEcho(e)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return gateway.Errorf(gateway.CodeInvalidBody, "the request body did not arrive in time")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return gateway.Errorf(gateway.CodeUnavailable, "the hub could not answer in time")
	}
	return gateway.Errorf(gateway.CodeInternal, "")
}

// refusal is a strict decoder's error in the domain's terms.
func refusal(e *strictjson.Error) *gateway.Error {
	code := gateway.CodeInvalidBody
	if e.Kind == strictjson.Unknown {
		code = gateway.CodeUnknownField
	}
	out := gateway.FieldErrorf(code, e.Pointer, "%s", e.Detail)
	where := e.Pointer
	if where == "" {
		where = "the body"
	}
	out.Message = where + " " + e.Detail
	if e.Kind == strictjson.Unknown {
		out.Message = "there is no field " + e.Pointer
	}
	return out
}

// ofEcho is an error of the router or of the generated parameter binding.
func ofEcho(e *echo.HTTPError) *gateway.Error {
	switch e.Code {
	case http.StatusNotFound:
		return gateway.Errorf(gateway.CodeNotFound, "there is no such route")
	case http.StatusMethodNotAllowed:
		return gateway.Errorf(gateway.CodeMethodNotAllowed, "this route does not have this method")
	case http.StatusBadRequest:
		return gateway.Errorf(gateway.CodeInvalidParameter, "%s", fmt.Sprint(e.Message))
	}
	return &gateway.Error{Code: gateway.CodeInternal, Err: e}
}
