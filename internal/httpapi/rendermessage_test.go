package httpapi_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
)

// The answer to an accepted message is written by hand. Whatever a message holds, in whatever field, it is what the encoder makes of
// the model that openapi.yaml describes.
func TestAcceptedMessagesAreShownAsTheModelSays(t *testing.T) {
	t.Parallel()
	texts := []string{
		"plain", "", "with \"quotes\" and a \\ and a / slash", "<b>&amp;</b>", "a\nb\tc\rd\x00e\x1ff\x7fg", "日本 \u00e4\u2028\u2029 \U0001F600",
		"not UTF-8 \xff\xfe", strings.Repeat("long ", 1000),
	}
	times := []time.Time{
		{},
		time.Unix(0, 0), time.Unix(1_700_000_000, 120_000_000), time.Unix(1_700_000_000, 123_456_789).In(time.FixedZone("", 3600)),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
	}
	compare := func(m *gateway.Message) {
		t.Helper()
		if got, want := httpapi.RenderAccepted(m), httpapi.RenderModel(m); got != want {
			t.Errorf("rendered\n%s\nthe encoder makes\n%s", got, want)
		}
	}
	compare(&gateway.Message{})
	all := &gateway.Message{Media: &gateway.Media{}, Error: &gateway.Failure{}}
	// Each field takes each value, alone in an empty message and beside what the others have by then.
	var vary func(of func(*gateway.Message) reflect.Value)
	vary = func(of func(*gateway.Message) reflect.Value) {
		set := func(apply func(reflect.Value)) {
			alone := &gateway.Message{Media: &gateway.Media{}, Error: &gateway.Failure{}}
			apply(of(alone))
			compare(alone)
			apply(of(all))
			compare(all)
		}
		switch field := of(all); field.Interface().(type) {
		case *gateway.Content:
			for _, content := range contents() {
				for _, kind := range kinds() {
					set(func(v reflect.Value) { v.Set(reflect.ValueOf(content)) })
					compare(&gateway.Message{Type: kind, Content: content})
				}
			}
		case *gateway.LinkPreview: // is not shown
			set(func(v reflect.Value) { v.Set(reflect.ValueOf(&gateway.LinkPreview{Title: "T"})) })
		case time.Time:
			for _, at := range times {
				set(func(v reflect.Value) { v.Set(reflect.ValueOf(at)) })
			}
		default:
			switch field.Kind() {
			case reflect.String:
				for _, text := range texts {
					set(func(v reflect.Value) { v.SetString(text) })
				}
			case reflect.Int, reflect.Int64:
				for _, n := range []int64{-1, 0, 1 << 40} {
					set(func(v reflect.Value) { v.SetInt(n) })
				}
			case reflect.Bool:
				set(func(v reflect.Value) { v.SetBool(true) })
			case reflect.Pointer:
				if field.IsNil() {
					t.Fatalf("a field of type %s", field.Type())
				}
				for i := range field.Elem().NumField() {
					vary(func(m *gateway.Message) reflect.Value { return of(m).Elem().Field(i) })
				}
				compare(&gateway.Message{Media: all.Media})
				compare(&gateway.Message{Error: all.Error})
			default:
				t.Fatalf("a field of kind %s", field.Kind())
			}
		}
	}
	for i := range reflect.TypeFor[gateway.Message]().NumField() {
		vary(func(m *gateway.Message) reflect.Value { return reflect.ValueOf(m).Elem().Field(i) })
	}
	compare(&gateway.Message{Phase: gateway.PhaseStaged})
}

func kinds() []gateway.MessageType {
	return []gateway.MessageType{
		gateway.TypeText, gateway.TypeImage, gateway.TypeLocation, gateway.TypeContacts, gateway.TypeReaction, gateway.TypeEdit, gateway.TypeRevoke,
	}
}

func contents() []*gateway.Content {
	return []*gateway.Content{
		nil,
		{},
		{Location: &gateway.Location{Latitude: -33.5, Longitude: 1e-7, Name: "<caf\u00e9>"}},
		{Contacts: []gateway.Contact{{Name: "A & B", Phones: []string{"4915112345678"}, Email: "a@b"}, {}}},
		{LinkPreview: true},
		{Emoji: "\U0001F44D", Target: &gateway.Target{MessageID: "m"}, Mentions: []string{"1", "2"}},
	}
}
