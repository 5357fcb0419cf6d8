package httpapi

import (
	"net/http"

	"github.com/wapro/hub/internal/gateway"
)

// StatusOf is the table of which code answers with which HTTP status, for the test of the catalogue.
var StatusOf = statusOf

// RenderAccepted is the body of the answer to an accepted message, RenderModel what the encoder makes of the model of it.
func RenderAccepted(m *gateway.Message) string { return string(accepted(m).Body) }

func RenderModel(m *gateway.Message) string {
	return string(jsonAnswer(http.StatusOK, message(m)).Body)
}

// ReadCursor, WriteCursor and IdempotencyKey read what callers send, for the fuzzers.
var (
	ReadCursor     = readCursor
	WriteCursor    = writeCursor
	IdempotencyKey = idempotencyKey
)
