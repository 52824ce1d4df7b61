"""How well training scales: measurement, cost model, forecast, report."""
