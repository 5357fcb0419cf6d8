package store_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// On Postgres most texts travel in fewer columns than the rest. Together or apart, nothing of either may be lost: each field of a new
// message is set in turn, so that a new one that is forgotten shows.
func TestNothingOfANewMessageIsLostOnPostgres(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), services.Postgres(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) //nolint:errcheck // the test is over
	tenant := newTenant(t, s, "algo")
	if err := s.KeepBlob(t.Context(), "c0ffee", 3); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Minute).Truncate(time.Microsecond).UTC()
	set := map[string]func(*gateway.Message){
		"nothing":  func(*gateway.Message) {},
		"TenantID": func(m *gateway.Message) { m.TenantID = tenant.ID }, // of the tenant, as it is
		"Media": func(m *gateway.Message) {
			m.Media = &gateway.Media{MimeType: "audio/ogg", Filename: "a.ogg", Size: 3, SHA256: "c0ffee", Voice: true, Seconds: 2}
		},
		"Content":  func(m *gateway.Message) { m.Content = &gateway.Content{Emoji: "x", Mentions: []string{"1"}} },
		"Error":    func(m *gateway.Message) { m.Error = &gateway.Failure{Code: "timeout", Message: "no", Retryable: true} },
		"Type":     func(m *gateway.Message) { m.Type = gateway.TypeImage },
		"Priority": func(m *gateway.Message) { m.Priority = gateway.PriorityHigh },
		"Status":   func(m *gateway.Message) { m.Status, m.SendAt = gateway.StatusScheduled, at },
		"SendAt":   func(m *gateway.Message) { m.SendAt = m.CreatedAt.Add(-time.Second) },
	}
	fields := reflect.TypeFor[gateway.Message]()
	for i := range fields.NumField() {
		name, index := fields.Field(i).Name, i
		switch name {
		case "ID", "TenantKey", "Seq", "WhatsAppID", "Phase", "HoldUnknown", "Restricted", "Preview": // assigned, or set in each, or not the row's own
			continue
		}
		if set[name] != nil {
			continue
		}
		set[name] = func(m *gateway.Message) {
			switch field := reflect.ValueOf(m).Elem().Field(index).Addr().Interface().(type) {
			case *string:
				*field = "x\u00e4" + name
			case *int:
				*field = 7
			case *bool:
				*field = true
			case *time.Time:
				*field = at
			default:
				t.Errorf("set %s, a %T", name, field)
			}
		}
	}
	var batch []*gateway.Message
	var names []string
	for name, change := range set {
		m := message(tenant, len(batch))
		change(m)
		batch, names = append(batch, m), append(names, name)
	}
	accept(t, s, batch...)
	for i, m := range batch {
		got, err := s.Message(t.Context(), tenant.Key, m.ID)
		if err != nil || !reflect.DeepEqual(got, *m) {
			t.Errorf("%s: stored %+v, %v, want %+v", names[i], got, err, *m)
		}
		events, err := s.Events(t.Context(), tenant.Key, m.ID)
		if err != nil || len(events) != 1 || events[0].Status != m.Status {
			t.Errorf("%s: events %v, %v", names[i], events, err)
		}
	}
}
