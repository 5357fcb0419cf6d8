package httpapi

import (
	"math"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

func pacingModel(p gateway.Pacing) spec.Pacing {
	shown := spec.Pacing{
		DelaySeconds: p.Delay.Seconds(), RandomDelaySeconds: p.RandomDelay.Seconds(),
		PerMinute: p.PerMinute, PerHour: p.PerHour, PerDay: p.PerDay,
		FirstContactsPerDay: p.FirstContactsPerDay, PerRecipientPerDay: p.PerRecipientPerDay,
	}
	if q := p.Quiet; q.Zone != nil {
		shown.QuietHours = &spec.QuietHours{From: q.From.String(), To: q.To.String(), TimeZone: q.Zone.String()}
	}
	return shown
}

// decodePacing reads a PacingPatch as the changes that it asks for.
func decodePacing(d *strictjson.Decoder, add func(func(*gateway.Settings))) error {
	if null, err := d.Null(); err != nil || null {
		add(func(s *gateway.Settings) { s.Pacing = gateway.PacingChoice{} })
		return err
	}
	delays := map[string]func(*gateway.PacingChoice) **time.Duration{
		"delaySeconds":       func(p *gateway.PacingChoice) **time.Duration { return &p.Delay },
		"randomDelaySeconds": func(p *gateway.PacingChoice) **time.Duration { return &p.RandomDelay },
	}
	caps := map[string]func(*gateway.PacingChoice) **int{
		"perMinute":           func(p *gateway.PacingChoice) **int { return &p.PerMinute },
		"perHour":             func(p *gateway.PacingChoice) **int { return &p.PerHour },
		"perDay":              func(p *gateway.PacingChoice) **int { return &p.PerDay },
		"firstContactsPerDay": func(p *gateway.PacingChoice) **int { return &p.FirstContactsPerDay },
		"perRecipientPerDay":  func(p *gateway.PacingChoice) **int { return &p.PerRecipientPerDay },
	}
	return d.Object(func(name string) error {
		if field := delays[name]; field != nil {
			n, err := numberOrNull(d, gateway.MaxPaceDelay.Seconds(), false)
			if err != nil {
				return err
			}
			var own *time.Duration
			if n != nil {
				delay := time.Duration(*n * float64(time.Second)).Round(time.Millisecond)
				own = &delay
			}
			add(func(s *gateway.Settings) { *field(&s.Pacing) = own })
			return nil
		}
		if field := caps[name]; field != nil {
			n, err := numberOrNull(d, gateway.MaxPaceCap, true)
			if err != nil {
				return err
			}
			var own *int
			if n != nil {
				limit := int(*n)
				own = &limit
			}
			add(func(s *gateway.Settings) { *field(&s.Pacing) = own })
			return nil
		}
		if name == "quietHours" {
			quiet, err := decodeQuietHours(d)
			add(func(s *gateway.Settings) { s.Pacing.Quiet = quiet })
			return err
		}
		return d.UnknownField()
	})
}

// numberOrNull reads a number from 0 to most, or null.
func numberOrNull(d *strictjson.Decoder, most float64, whole bool) (*float64, error) {
	if null, err := d.Null(); err != nil || null {
		return nil, err
	}
	n, err := d.Float()
	if err != nil {
		return nil, err
	}
	kind := "number"
	if whole {
		kind = "whole number"
	}
	if n < 0 || n > most || math.IsNaN(n) || whole && n != math.Trunc(n) {
		return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be a %s from 0 to %.0f", d.Pointer(), kind, most)
	}
	return &n, nil
}

func decodeQuietHours(d *strictjson.Decoder) (*gateway.QuietHours, error) {
	if null, err := d.Null(); err != nil || null {
		return nil, err
	}
	at := d.Pointer()
	quiet := gateway.QuietHours{}
	seen := 0
	err := d.Object(func(name string) error {
		var text string
		if name != "from" && name != "to" && name != "timeZone" {
			return d.UnknownField()
		}
		seen++
		if err := required(d, &text, maxKeyword, gateway.CodeInvalidBody); err != nil {
			return err
		}
		if name == "timeZone" {
			zone, err := time.LoadLocation(text)
			if err != nil || text == "" || text == "Local" {
				return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be a time zone such as Europe/Berlin", d.Pointer())
			}
			quiet.Zone = zone
			return nil
		}
		clock, err := gateway.ParseClockTime(text)
		if err != nil {
			return gateway.FieldErrorf(gateway.CodeInvalidBody, d.Pointer(), "%s must be a time of day such as 21:30", d.Pointer())
		}
		if name == "from" {
			quiet.From = clock
		} else {
			quiet.To = clock
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case seen < 3:
		return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, at, "%s needs from, to and timeZone", at)
	case quiet.From == quiet.To:
		return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, at, "%s must end at another time than it begins", at)
	}
	return &quiet, nil
}
