package app

import (
	_ "time/tzdata" // a container may have no time zones of its own

	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/gateway"
)

// pacing is what a tenant has that chose nothing: a real number is treated with care.
func pacing(mode config.Mode) gateway.Pacing {
	if mode == config.ModeReal {
		return gateway.CarefulPacing()
	}
	return gateway.Pacing{}
}
