package l4

import (
	"fmt"
	"strconv"
)

// WireValues lists every number with a meaning that a Handover contains, such
// as "phase hello=1". Two processes whose lists differ do not understand each
// other.
func WireValues() []string {
	var all []string
	table := newPhaseTable()
	for p, x := range table {
		if x.resume != nil {
			all = append(all, fmt.Sprintf("phase %s=%d", x.name, p))
		}
	}
	for _, s := range flowStates {
		all = append(all, fmt.Sprintf("flow %s=%d", s, s))
	}
	for _, p := range parties {
		all = append(all, fmt.Sprintf("party %s=%d", p, p))
	}
	for _, s := range switches {
		all = append(all, fmt.Sprintf("switch %s=%d", s, s))
	}
	return all
}

// check refuses a Handover that this process would not understand, or that
// lacks what its phase needs.
func (h *Handover) check(t *phaseTable) error {
	p := phase(h.Phase)
	switch {
	case !t.handedOver(p):
		return fmt.Errorf("unknown phase %d", h.Phase)
	case !h.Ends[client].Open:
		return fmt.Errorf("phase %s without a client", t[p].name)
	case !t[p].open && h.Ending == nil:
		return fmt.Errorf("phase %s without an end that was decided", t[p].name)
	case h.lacksServer(p):
		return fmt.Errorf("phase %s without a server", t[p].name)
	}
	return h.checkValues()
}

func (h *Handover) lacksServer(p phase) bool {
	switch p {
	case phaseDial, phaseRateSlot:
		return h.Search == nil || h.Server == ""
	case phaseRelay:
		return h.Server == ""
	}
	return false
}

func (h *Handover) checkValues() error {
	for _, f := range h.Flows {
		if int(f.State) >= len(flowStates) {
			return fmt.Errorf("unknown flow state %d", f.State)
		}
	}
	if int(h.First) >= len(parties) {
		return fmt.Errorf("unknown party %d", h.First)
	}
	if h.Ending != nil && int(h.Ending.By) >= len(parties) {
		return fmt.Errorf("unknown party %d", h.Ending.By)
	}
	if int(h.Session.KeepHalfClose) >= len(switches) {
		return fmt.Errorf("unknown switch %d", h.Session.KeepHalfClose)
	}
	return nil
}

// All values of the types that a Handover contains, in order.
var (
	flowStates = [...]flowState{flowOpen, flowEnded, flowShut}
	parties    = [...]Party{Culvert, Client, Server}
	switches   = [...]Switch{Inherit, SwitchOn, SwitchOff}
)

// Names of the values, by value.
var (
	flowStateNames = [...]string{"open", "ended", "shut"}
	switchNames    = [...]string{"inherit", "on", "off"}
)

func (s flowState) String() string { return flowStateNames[s] }

// String returns the value as a configuration has it, or its number.
func (s Switch) String() string {
	if int(s) < len(switchNames) {
		return switchNames[s]
	}
	return strconv.Itoa(int(s))
}
