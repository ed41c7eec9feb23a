package border

import "brickhouse/sbc/internal/banapi"

// openBanAPI starts the endpoint for other tools, if the configuration has one. Its tokens are reloaded, its address is not.
func (b *Border) openBanAPI() error {
	if !b.cfg.BanAPI.Listen.IsValid() {
		return nil
	}
	s := banapi.New(b.cfg.BanAPI, banapi.Options{Guard: b.guard, Log: b.log, Clock: b.now, Count: b.metrics.banAPI})
	if err := s.Listen(); err != nil {
		return err
	}
	b.banAPI = s
	return nil
}

// reloadBanAPI takes new tokens over.
func (b *Border) reloadBanAPI(c banapi.Config) {
	if b.banAPI == nil && c.Listen.IsValid() || b.banAPI != nil && c.Listen != b.cfg.BanAPI.Listen {
		b.log.Warn("ban_api.listen changes only with a restart")
	}
	if b.banAPI != nil {
		b.banAPI.Reload(c)
	}
}

// closeBanAPI ends the endpoint, before the guard that it needs.
func (b *Border) closeBanAPI() {
	if b.banAPI != nil {
		b.banAPI.Close()
	}
}
