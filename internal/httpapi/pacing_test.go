package httpapi_test

import (
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

type pacingBody struct {
	DelaySeconds, RandomDelaySeconds        float64
	PerMinute, PerHour, PerDay              int
	FirstContactsPerDay, PerRecipientPerDay int
	QuietHours                              *struct{ From, To, TimeZone string }
}

func TestPacingIsChangedFieldByField(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(s *settings) { s.options.Pacing = gateway.Pacing{Delay: 1500 * time.Millisecond, PerDay: 1000} })
	patch := func(body string) pacingBody {
		t.Helper()
		got := h.do(request{method: http.MethodPatch, path: "/api/algo/settings", body: body}).want(http.StatusOK)
		return decode[struct{ Pacing pacingBody }](got).Pacing
	}
	is := func(got, want pacingBody) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
	is(patch(`{}`), pacingBody{DelaySeconds: 1.5, PerDay: 1000})
	night := struct{ From, To, TimeZone string }{"22:00", "07:30", "Asia/Kolkata"}
	want := pacingBody{DelaySeconds: 0, RandomDelaySeconds: 2.25, PerMinute: 7, PerDay: 1000, FirstContactsPerDay: 3, PerRecipientPerDay: 2, QuietHours: &night}
	is(patch(`{"pacing":{"delaySeconds":0,"randomDelaySeconds":2.25,"perMinute":7,"firstContactsPerDay":3,"perRecipientPerDay":2,
		"quietHours":{"from":"22:00","to":"07:30","timeZone":"Asia/Kolkata"}}}`), want)
	is(patch(`{"unknownPolicy":"hold"}`), want)
	is(decode[struct{ Pacing pacingBody }](h.do(request{path: "/api/algo/settings"}).want(http.StatusOK)).Pacing, want)
	want.DelaySeconds, want.QuietHours, want.PerDay = 1.5, nil, 0
	is(patch(`{"pacing":{"delaySeconds":null,"quietHours":null,"perDay":0}}`), want)
	is(patch(`{"pacing":null}`), pacingBody{DelaySeconds: 1.5, PerDay: 1000})

	stored, err := h.store.Pacing(t.Context(), h.algo.Key)
	must(t, err)
	if stored != (gateway.PacingChoice{}) {
		t.Errorf("nothing was chosen, %+v is stored", stored)
	}
}

func TestPacingThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for body, pointer := range map[string]string{
		`{"pacing":{"delaySeconds":-1}}`:    "/pacing/delaySeconds",
		`{"pacing":{"delaySeconds":3601}}`:  "/pacing/delaySeconds",
		`{"pacing":{"delaySeconds":"1"}}`:   "/pacing/delaySeconds",
		`{"pacing":{"perMinute":1.5}}`:      "/pacing/perMinute",
		`{"pacing":{"perDay":100001}}`:      "/pacing/perDay",
		`{"pacing":{"perHour":-1}}`:         "/pacing/perHour",
		`{"pacing":[]}`:                     "/pacing",
		`{"pacing":{"quietHours":{}}}`:      "/pacing/quietHours",
		`{"pacing":{"quietHours":"22-08"}}`: "/pacing/quietHours",
		`{"pacing":{"quietHours":{"from":"24:00","to":"08:00","timeZone":"UTC"}}}`:    "/pacing/quietHours/from",
		`{"pacing":{"quietHours":{"from":"22:00","to":"8:00","timeZone":"UTC"}}}`:     "/pacing/quietHours/to",
		`{"pacing":{"quietHours":{"from":"22:00","to":"08:00","timeZone":"Mars"}}}`:   "/pacing/quietHours/timeZone",
		`{"pacing":{"quietHours":{"from":"22:00","to":"08:00","timeZone":"../etc"}}}`: "/pacing/quietHours/timeZone",
		`{"pacing":{"quietHours":{"from":"08:00","to":"08:00","timeZone":"UTC"}}}`:    "/pacing/quietHours",
	} {
		h.do(request{method: http.MethodPatch, path: "/api/algo/settings", body: body}).refused(422, gateway.CodeInvalidBody, pointer)
	}
	h.do(request{method: http.MethodPatch, path: "/api/algo/settings", body: `{"pacing":{"perSecond":1}}`}).
		refused(422, gateway.CodeUnknownField, "/pacing/perSecond")
}
