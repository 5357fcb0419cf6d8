package httpapi

import (
	"context"
	"math"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// ListTenants answers with all tenants.
func (s *Server) ListTenants(c echo.Context) error {
	tenants, err := s.store.Tenants(c.Request().Context())
	if err != nil {
		return wrap(err, "list the tenants")
	}
	list := spec.TenantList{Data: make([]spec.Tenant, len(tenants))}
	for i, t := range tenants {
		list.Data[i] = tenantModel(t)
	}
	return sendJSON(c, list)
}

func tenantModel(t gateway.Tenant) spec.Tenant {
	return spec.Tenant{
		Id: t.ID, Name: orNull(t.Name), CreatedAt: t.CreatedAt.UTC(),
		RequestsPerSecond: orDefault(t.Limits.RequestsPerSecond), QueuedMessages: orDefault(t.Limits.QueuedMessages),
	}
}

// orDefault is null for a limit that is not set here: what is above decides.
func orDefault(limit int) *int {
	if limit == 0 {
		return nil
	}
	return &limit
}

// PatchTenant changes what a tenant is allowed.
func (s *Server) PatchTenant(c echo.Context, id string) error {
	body, err := readBody(c)
	if err != nil {
		return err
	}
	var changes []func(*gateway.Limits)
	if err := decodeBody(c, body, func(d *strictjson.Decoder) (err error) {
		if d == nil {
			return noBody()
		}
		return d.Object(func(field string) error {
			limit := func(l *gateway.Limits) *int { return &l.RequestsPerSecond }
			switch field {
			case "requestsPerSecond":
			case "queuedMessages":
				limit = func(l *gateway.Limits) *int { return &l.QueuedMessages }
			default:
				return d.UnknownField()
			}
			var value int
			if err := wholeLimit(d, &value); err != nil {
				return err
			}
			changes = append(changes, func(l *gateway.Limits) { *limit(l) = value })
			return nil
		})
	}); err != nil {
		return err
	}
	tenant, err := s.store.UpdateLimits(c.Request().Context(), id, func(limits *gateway.Limits) {
		for _, change := range changes {
			change(limits)
		}
	})
	if err != nil {
		return wrap(err, "change the limits")
	}
	s.keys.clear() // they hold the tenant
	return sendJSON(c, tenantModel(tenant))
}

// wholeNumber reads a whole number from least to most.
func wholeNumber(d *strictjson.Decoder, least, most int) (int, error) {
	n, err := d.Float()
	if err != nil {
		return 0, err
	}
	if n != math.Trunc(n) || n < float64(least) || n > float64(most) {
		return 0, gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be a whole number from %d to %d", d.Pointer(), least, most)
	}
	return int(n), nil
}

// CreateTenant makes a tenant with an unpaired session.
func (s *Server) CreateTenant(c echo.Context, _ spec.CreateTenantParams) error {
	var id, name string
	var given bool
	decode := func(d *strictjson.Decoder) error {
		if d == nil {
			return noBody()
		}
		err := d.Object(func(field string) error {
			switch field {
			case "id":
				given = true
				return required(d, &id, maxID, gateway.CodeInvalidTenant)
			case "name":
				return optional(d, &name, maxNameField, gateway.CodeInvalidBody)
			}
			return d.UnknownField()
		})
		switch {
		case err != nil:
			return err
		case !given:
			return missing("/id")
		case !gateway.ValidTenantID(id):
			return gateway.FieldErrorf(gateway.CodeInvalidTenant, "/id", "/id must be 1 to 63 lower-case letters, digits and dashes, and not begin with a dash")
		}
		return nil
	}
	return s.post(c, decode, func(ctx context.Context, _ *gateway.IdempotencyCompletion) (*answer, error) {
		tenant, err := s.store.CreateTenant(ctx, id, name)
		if err != nil {
			return nil, wrap(err, "create the tenant")
		}
		a := jsonAnswer(http.StatusCreated, tenantModel(tenant))
		a.Header["Location"] = "/admin/tenants/" + tenant.ID
		return a, nil
	})
}

// DeleteTenant removes a tenant from everywhere.
func (s *Server) DeleteTenant(c echo.Context, id string) error {
	ctx := c.Request().Context()
	tenant, err := s.store.Tenant(ctx, id)
	if err != nil {
		return wrap(err, "look up the tenant")
	}
	defer s.keys.clear() // also when it failed half-way
	if err := s.tenants.Delete(ctx, tenant); err != nil {
		return wrap(err, "delete the tenant")
	}
	return c.NoContent(http.StatusNoContent)
}
