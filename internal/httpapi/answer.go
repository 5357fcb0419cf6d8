package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
)

// answer is a whole answer, ready to be sent or stored under an Idempotency-Key.
type answer struct {
	gateway.IdempotencyAnswer
	kept   bool                       // stored already, by the transaction that accepted the message
	replay *gateway.IdempotencyAnswer // what a replay gets instead; nil: the same
}

// jsonAnswer renders v, one of the generated models.
func jsonAnswer(status int, v any) *answer {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// The models hold strings, numbers and times only; a year beyond 9999 is a bug of ours.
		panic(fmt.Sprintf("render %T: %v", v, err))
	}
	return &answer{IdempotencyAnswer: gateway.IdempotencyAnswer{
		Status: status, Header: map[string]string{"Content-Type": mimeJSON}, Body: buf.Bytes(),
	}}
}

func sendJSON(c echo.Context, v any) error { return send(c, jsonAnswer(http.StatusOK, v)) }

func send(c echo.Context, a *answer) error {
	h := c.Response().Header()
	for name, value := range a.Header {
		h.Set(name, value)
	}
	c.Response().WriteHeader(a.Status)
	if _, err := c.Response().Write(a.Body); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
