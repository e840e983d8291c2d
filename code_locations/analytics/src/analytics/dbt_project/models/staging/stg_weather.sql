select
    origin as airport,
    cast(time_hour as timestamptz) as observed_hour,
    temp as temperature_fahrenheit,
    wind_speed as wind_speed_mph,
    precip as precipitation_inches,
    visib as visibility_miles
from {{ source('raw', 'weather') }}
