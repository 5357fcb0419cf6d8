package httpapi

import (
	"math"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// GetSettings answers with what the tenant chose, read anew: what came with the key may be two seconds old.
func (s *Server) GetSettings(c echo.Context, _ string) error {
	tenant, err := s.store.Tenant(c.Request().Context(), callOf(c).tenant.ID)
	if err != nil {
		return wrap(err, "read the settings")
	}
	return sendJSON(c, s.settingsOf(tenant.Settings))
}

// PatchSettings changes what the body names.
func (s *Server) PatchSettings(c echo.Context, _ string) error {
	body, err := readBody(c)
	if err != nil {
		return err
	}
	var changes []func(*gateway.Settings)
	if err := decodeBody(c, body, func(d *strictjson.Decoder) (err error) {
		changes, err = decodeSettings(d)
		return err
	}); err != nil {
		return err
	}
	stored, err := s.store.UpdateSettings(c.Request().Context(), callOf(c).tenant.Key, func(settings *gateway.Settings) {
		for _, change := range changes {
			change(settings)
		}
	})
	if err != nil {
		return wrap(err, "change the settings")
	}
	s.keys.clear() // they hold the tenant with its settings
	return sendJSON(c, s.settingsOf(stored))
}

func (s *Server) settingsOf(own gateway.Settings) spec.Settings {
	shown := spec.Settings{UnknownPolicy: spec.Resend, DefaultExpiry: spec.DefaultExpiry{
		High: seconds(own, gateway.PriorityHigh), Normal: seconds(own, gateway.PriorityNormal), Bulk: seconds(own, gateway.PriorityBulk),
	}, Pacing: pacingModel(own.Pacing.Over(s.opts.Pacing)), Retention: spec.Retention{
		MessagesDays: days(own.Retention.Messages), TextDays: days(own.Retention.Text), EventsDays: days(own.Retention.Events),
	}}
	shown.OptOutWords, shown.OptInWords = own.Words.StopWords(), own.Words.StartWords()
	if own.HoldUnknown {
		shown.UnknownPolicy = spec.Hold
	}
	return shown
}

func seconds(s gateway.Settings, lane gateway.Priority) int64 {
	return int64(s.ExpiryOf(lane) / time.Second)
}

// decodeSettings reads a SettingsPatch as the changes that it asks for.
func decodeSettings(d *strictjson.Decoder) (changes []func(*gateway.Settings), err error) {
	if d == nil {
		return nil, noBody()
	}
	add := func(change func(*gateway.Settings)) { changes = append(changes, change) }
	err = d.Object(func(name string) error {
		switch name {
		case "unknownPolicy":
			var policy string
			if err := optional(d, &policy, maxKeyword, gateway.CodeInvalidBody); err != nil {
				return err
			}
			if policy != "" && !spec.UnknownPolicy(policy).Valid() {
				return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be resend or hold", d.Pointer())
			}
			add(func(s *gateway.Settings) { s.HoldUnknown = policy == string(spec.Hold) })
			return nil
		case "defaultExpiry":
			return decodeExpiry(d, add)
		case "pacing":
			return decodePacing(d, add)
		case "optOutWords":
			return decodeWords(d, func(list []string) {
				add(func(s *gateway.Settings) { s.Words = &gateway.Words{Stop: list, Start: startOf(s)} })
			})
		case "optInWords":
			return decodeWords(d, func(list []string) {
				add(func(s *gateway.Settings) { s.Words = &gateway.Words{Stop: stopOf(s), Start: list} })
			})
		case "retention":
			return decodeRetention(d, add)
		}
		return d.UnknownField()
	})
	return changes, err
}

// days is a number of days as it is shown; nil: no end.
func days(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

func decodeRetention(d *strictjson.Decoder, add func(func(*gateway.Settings))) error {
	if null, err := d.Null(); err != nil || null {
		add(func(s *gateway.Settings) { s.Retention = gateway.Retention{} })
		return err
	}
	return d.Object(func(name string) error {
		least := gateway.MinKeepMessages
		var field func(*gateway.Settings) *int
		switch name {
		case "messagesDays":
			field = func(s *gateway.Settings) *int { return &s.Retention.Messages }
		case "textDays":
			field = func(s *gateway.Settings) *int { return &s.Retention.Text }
		case "eventsDays":
			least, field = 1, func(s *gateway.Settings) *int { return &s.Retention.Events }
		default:
			return d.UnknownField()
		}
		kept := 0
		if null, err := d.Null(); err != nil {
			return err
		} else if !null {
			n, err := d.Float()
			if err != nil {
				return err
			}
			if n != math.Trunc(n) || n < float64(least) || n > gateway.MaxKeep {
				return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be a whole number of days from %d to %d, or null", d.Pointer(), least, gateway.MaxKeep)
			}
			kept = int(n)
		}
		add(func(s *gateway.Settings) { *field(s) = kept })
		return nil
	})
}

func decodeExpiry(d *strictjson.Decoder, add func(func(*gateway.Settings))) error {
	if null, err := d.Null(); err != nil || null {
		add(func(s *gateway.Settings) { s.Expiry = gateway.Settings{}.Expiry })
		return err
	}
	return d.Object(func(name string) error {
		var field func(*gateway.Settings) *time.Duration
		switch name {
		case "high":
			field = func(s *gateway.Settings) *time.Duration { return &s.Expiry.High }
		case "normal":
			field = func(s *gateway.Settings) *time.Duration { return &s.Expiry.Normal }
		case "bulk":
			field = func(s *gateway.Settings) *time.Duration { return &s.Expiry.Bulk }
		default:
			return d.UnknownField()
		}
		var expiry time.Duration
		if null, err := d.Null(); err != nil {
			return err
		} else if !null {
			if expiry, err = wholeSeconds(d, gateway.MinDefaultExpiry, gateway.MaxDefaultExpiry); err != nil {
				return err
			}
		}
		add(func(s *gateway.Settings) { *field(s) = expiry })
		return nil
	})
}

// wholeSeconds reads a whole number of seconds from least to most.
func wholeSeconds(d *strictjson.Decoder, least, most time.Duration) (time.Duration, error) {
	n, err := d.Float()
	if err != nil {
		return 0, err
	}
	if n != math.Trunc(n) || n < least.Seconds() || n > most.Seconds() {
		return 0, gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be a whole number of seconds from %.0f to %.0f",
			d.Pointer(), least.Seconds(), most.Seconds())
	}
	return time.Duration(n) * time.Second, nil
}

func stopOf(s *gateway.Settings) []string {
	if s.Words == nil {
		return nil
	}
	return s.Words.Stop
}

func startOf(s *gateway.Settings) []string {
	if s.Words == nil {
		return nil
	}
	return s.Words.Start
}

// decodeWords reads a list of words for set; null, the defaults, is a nil one.
func decodeWords(d *strictjson.Decoder, set func([]string)) error {
	null, err := d.Null()
	if err != nil {
		return err
	}
	if null {
		set(nil)
		return nil
	}
	list := []string{}
	err = d.Array(gateway.MaxWords, func() error {
		var word string
		if err := required(d, &word, gateway.MaxWordBytes, gateway.CodeInvalidBody); err != nil {
			return err
		}
		if strings.TrimSpace(word) == "" {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must not be empty", d.Pointer())
		}
		list = append(list, word)
		return nil
	})
	if err == nil {
		set(list)
	}
	return err
}
