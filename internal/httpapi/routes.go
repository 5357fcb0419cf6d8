package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// operation is what the description says of one route beyond its models.
type operation struct {
	ID      string
	Method  string
	Path    string // as echo writes it
	Access  access
	Scope   string // what a scoped key needs
	Planned bool
	Sandbox bool
}

// access is who may call an operation.
type access int

const (
	accessAdmin  access = iota // the admin key
	accessTenant               // a key of the tenant in the path, or the admin key
	accessOpen                 // anybody
)

// readOperations lists the operations of an OpenAPI description.
func readOperations(description []byte) ([]operation, error) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(description, &doc); err != nil {
		return nil, fmt.Errorf("parse paths: %w", err)
	}
	var all []operation
	for path, methods := range doc.Paths {
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			var o struct {
				OperationID string            `json:"operationId"`
				Tags        []string          `json:"tags"`
				Security    *[]map[string]any `json:"security"`
				Scope       string            `json:"x-scope"`
				Planned     bool              `json:"x-not-implemented"`
			}
			if err := json.Unmarshal(raw, &o); err != nil {
				return nil, fmt.Errorf("parse %s %s: %w", method, path, err)
			}
			op := operation{
				ID: o.OperationID, Method: strings.ToUpper(method), Path: echoPath(path), Scope: o.Scope,
				Planned: o.Planned, Sandbox: slices.Contains(o.Tags, "sandbox"),
			}
			switch {
			case o.Security != nil && len(*o.Security) == 0:
				op.Access = accessOpen
			case strings.HasPrefix(path, "/api/{tenantId}/"):
				op.Access = accessTenant
			}
			all = append(all, op)
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	return all, nil
}

// echoPath writes /a/{b} as /a/:b.
func echoPath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = ":" + strings.Trim(p, "{}")
		}
	}
	return strings.Join(parts, "/")
}

// register makes the routes: the built ones through the generated code, the planned and the sandbox's by themselves.
func (s *Server) register(operations []operation, sandbox http.Handler) {
	guards := make(map[string][]echo.MiddlewareFunc, len(operations))
	for _, op := range operations {
		guard := s.guard(op)
		switch {
		case op.Planned:
			s.echo.Add(op.Method, op.Path, notImplemented, guard)
		case op.Sandbox && sandbox != nil:
			s.echo.Add(op.Method, op.Path, echo.WrapHandler(sandbox), guard)
		default:
			guards[op.ID] = []echo.MiddlewareFunc{guard}
		}
	}
	spec.RegisterHandlersWithOptions(s.echo, s, spec.RegisterHandlersOptions{OperationMiddlewares: guards})
}

func notImplemented(echo.Context) error {
	return gateway.Errorf(gateway.CodeNotImplemented, "this route is agreed on but not built yet")
}

// guard lets an operation be called by whom it is for, for as long as it may take.
func (s *Server) guard(op operation) echo.MiddlewareFunc {
	limit, asks := s.opts.RequestTime, false
	switch op.ID {
	case "postMedia":
		limit = mediaTime
	case "getMessage":
		limit = maxWait + s.opts.RequestTime
	case "getInboundMedia":
		limit = gateway.MediaPatience + mediaTime
	case "purgeQueue":
		limit = purgeTime
	case "connectSession":
		limit = s.opts.CodeWait + s.opts.RequestTime
	case "createBulk", "previewBulk", "retryBulk", "getBulkResults":
		limit = bulkTime
	case "streamSessionEvents", "streamBulkEvents", "listEvents":
		limit = streamTime
	case "checkNumbers", "getNumber", "listJoinedGroups":
		asks = true // WhatsApp, which takes as long
	}
	waits := op.Access == accessTenant && (asks || limit != s.opts.RequestTime)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			ctx, cancel := context.WithTimeout(c.Request().Context(), limit)
			defer cancel()
			c.SetRequest(c.Request().WithContext(ctx))
			if op.Access != accessOpen {
				tenant, err := s.authenticate(ctx, c, op)
				if err != nil {
					return err
				}
				callOf(c).tenant = tenant
				if err := s.limit(c, op, tenant); err != nil {
					return err
				}
			}
			if limit != s.opts.RequestTime {
				// The server's own deadlines would cut these off; a passed read deadline ends the request's context.
				if err := extend(c, limit); err != nil {
					return err
				}
			}
			if waits {
				return s.whileGood(c, op, next)
			}
			return next(c)
		}
	}
}

// extend moves the connection's deadlines to limit from now.
func extend(c echo.Context, limit time.Duration) error {
	rc := http.NewResponseController(c.Response())
	err := errors.Join(rc.SetReadDeadline(time.Now().Add(limit)), rc.SetWriteDeadline(time.Now().Add(limit+answerTime)))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("extend the connection's deadline: %w", err)
	}
	return nil
}
