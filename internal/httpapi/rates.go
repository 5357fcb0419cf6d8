package httpapi

import (
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
)

// tooFast is a request that has to wait.
type tooFast struct {
	wait time.Duration
	why  string
}

func (e *tooFast) Error() string { return fmt.Sprintf("%s; wait %v", e.why, e.wait) }

// limit takes one request out of what the tenant may make, and out of what its key may if that has a limit of its own, and tells what is left of
// the tighter one. The operator's own key is not limited: it is who must be able to look when a tenant is too fast. The fields are those of
// draft-ietf-httpapi-ratelimit-headers-06, the last version of that draft with one field for each value.
func (s *Server) limit(c echo.Context, op operation, tenant gateway.Tenant) error {
	call := callOf(c)
	if s.rates == nil || op.Access != accessTenant || call.admin {
		return nil
	}
	rate, why := gateway.RateAnswer{OK: true}, "this key makes more requests than it may"
	if call.key.RequestsPerSecond > 0 {
		rate = s.rates.Take(gateway.RateOf{TenantKey: tenant.Key, KeyID: call.key.ID}, call.key.RequestsPerSecond)
	}
	if rate.OK { // a key that is too fast takes nothing from the others
		all := s.rates.Take(gateway.RateOf{TenantKey: tenant.Key}, tenant.Limits.RequestsPerSecond)
		if all.Limit > 0 && (rate.Limit == 0 || !all.OK || all.Remaining < rate.Remaining) {
			rate, why = all, "this tenant makes more requests than it may"
		}
	}
	if rate.Limit == 0 {
		return nil
	}
	h := c.Response().Header()
	h["Ratelimit-Limit"] = []string{strconv.Itoa(rate.Limit)}
	h["Ratelimit-Remaining"] = []string{strconv.Itoa(rate.Remaining)}
	h["Ratelimit-Reset"] = []string{strconv.Itoa(wholeUp(rate.Reset))}
	if !rate.OK {
		return &tooFast{rate.Wait, why}
	}
	return nil
}

// wholeUp is d in whole seconds, upwards.
func wholeUp(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
